"""HTTP only: each route validates, calls one flow and returns one schema."""
