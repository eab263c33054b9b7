"""The decoder as torch modules, made from a spec; it imports attention, weights, quant and what is beneath them."""
