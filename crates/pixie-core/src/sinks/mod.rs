//! Ready-made sinks, and combinators that make one of others.
