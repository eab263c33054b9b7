"""Where matrices come from: directories and Hugging Face ids; it imports quant and the errors."""
