//! Distillation without data, against an adversary, and for robustness.
