"""Digital signals: captures, edges, and series derived from them."""
