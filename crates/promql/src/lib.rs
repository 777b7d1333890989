//! PromQL: a parser with spans and a step-vectorised evaluator over columnar storage.
