//! Losses of relations between examples: distances, angles, similarities.
