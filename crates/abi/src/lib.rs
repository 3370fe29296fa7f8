//! The `repr(C)` contract between plugins and hosts.
#![no_std]
