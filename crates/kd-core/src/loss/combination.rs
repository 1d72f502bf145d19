//! Several teachers, students that teach each other, and students that teach themselves.
