//! Generates the messages and the service.

fn main() -> std::io::Result<()> {
    let builder = tonic_prost_build::configure().build_transport(false);
    builder.compile_protos(&["proto/order.proto"], &["proto"])
}
