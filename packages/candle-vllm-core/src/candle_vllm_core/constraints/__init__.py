"""From a constraint to the tokens that it allows: compiling away from the engine's thread, and following an answer."""
