//! Losses of transformers and language models: attention, hidden states, tokens.
