//! Images: recipe + lock → layers, config and digests.
