//! Kernel-level observability as a library.
