"""The instrument: it trains, measures and records; it names no method and no benchmark."""
