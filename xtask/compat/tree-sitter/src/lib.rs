//! tree-sitter with a grammar, both in C.

use keyway_sdk::{Context, Host, Method, Plugin, PluginError, export_plugin};

struct Case;

impl Plugin for Case {
    const METHODS: &'static [Method<Self>] = &[("check", Self::check)];

    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl Case {
    fn check(&mut self, _: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        let mut parser = tree_sitter::Parser::new();
        parser
            .set_language(&tree_sitter_json::LANGUAGE.into())
            .map_err(|error| PluginError::new(1, error.to_string()))?;
        let tree = parser.parse("[1, 2]", None).ok_or_else(|| PluginError::new(1, "no tree"))?;
        Ok(tree.root_node().to_sexp().into_bytes())
    }
}

export_plugin!(Case);
