"""Fields of config.json that say nothing of how a model computes: of training, of tools, of how answers are drawn."""

from __future__ import annotations

WHAT_IT_IS = (
    *("architectures", "model_type", "model_name", "name", "name_or_path", "license", "transformers_version"),
    *("torch_dtype", "dtype", "tokenizer_class", "processor_class", "is_llama_config", "transformers.js_config"),
)
CODE_THAT_IS_NEVER_RUN = ("auto_map", "trust_remote_code")
TOKENS = (
    *("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "unk_token_id"),
    *("decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens"),
    *("begin_suppress_tokens", "bad_words_ids", "prefix"),
)
HOW_ANSWERS_ARE_DRAWN = (
    *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "temperature"),
    *("top_k", "top_p", "typical_p", "diversity_penalty", "repetition_penalty", "length_penalty"),
    *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences"),
    *("exponential_decay_length_penalty", "remove_invalid_values"),
)
WHAT_IS_HANDED_BACK = (
    *("return_dict", "return_dict_in_generate", "output_attentions", "output_hidden_states", "output_scores"),
    *("output_router_logits", "tie_last_hidden_states", "use_cache", "cache_implementation"),
)
OTHER_HEADS = (
    *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "task_specific_params"),
    *("classifier_dropout", "classifier_bias"),
)
TRAINING = (
    *("initializer_range", "initializer_factor", "initializer_cutoff_factor", "gradient_checkpointing"),
    *("attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "embd_pdrop", "resid_pdrop", "dropout"),
    *("hidden_dropout", "hidden_dropout_prob", "rope_dropout", "router_jitter_noise", "input_jitter_noise"),
    *("router_aux_loss_coef", "aux_loss_alpha", "seq_aux", "loss_type", "pretraining_tp", "max_sequence_length"),
)
WITH_WHICH_KERNELS = (
    *("attn_implementation", "experts_implementation", "use_flash_attn", "chunk_size_feed_forward", "torchscript"),
    *("use_bfloat16", "tf_legacy_loss", "is_decoder", "tie_encoder_decoder"),
)
HARMLESS = frozenset(
    WHAT_IT_IS
    + CODE_THAT_IS_NEVER_RUN
    + TOKENS
    + HOW_ANSWERS_ARE_DRAWN
    + WHAT_IS_HANDED_BACK
    + OTHER_HEADS
    + TRAINING
    + WITH_WHICH_KERNELS
)
