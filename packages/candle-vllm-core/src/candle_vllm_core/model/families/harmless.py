"""Fields of config.json that say nothing of how a model computes: of training, of tools, of how answers are drawn."""

from __future__ import annotations

HARMLESS = frozenset(
    (
        *("architectures", "model_type", "auto_map", "transformers_version", "torch_dtype", "dtype", "_name_or_path"),
        *("_attn_implementation_autoset", "_commit_hash", "tokenizer_class", "name", "prefix", "use_cache"),
        *("is_decoder", "is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size", "torchscript"),
        *("return_dict", "output_attentions", "output_hidden_states", "output_router_logits", "use_return_dict"),
        *("id2label", "label2id", "num_labels", "problem_type", "task_specific_params", "finetuning_task"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "sep_token_id", "cls_token_id"),
        *("forced_bos_token_id", "forced_eos_token_id", "suppress_tokens", "begin_suppress_tokens", "bad_words_ids"),
        *("max_length", "min_length", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "temperature"),
        *("diversity_penalty", "top_k", "top_p", "typical_p", "repetition_penalty", "length_penalty"),
        *("no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "num_return_sequences", "output_scores"),
        *("return_dict_in_generate", "remove_invalid_values", "exponential_decay_length_penalty"),
        *("initializer_range", "initializer_factor", "initializer_cutoff_factor", "attention_dropout"),
        *("hidden_dropout", "hidden_dropout_prob", "attention_probs_dropout_prob", "dropout", "resid_pdrop"),
        *("embd_pdrop", "attn_pdrop", "rope_dropout", "router_jitter_noise", "router_aux_loss_coef"),
        *("aux_loss_alpha", "seq_aux", "input_jitter_noise", "pretraining_tp", "chunk_size_feed_forward"),
        *("tie_encoder_decoder", "pruned_heads", "tf_legacy_loss", "use_bfloat16", "gradient_checkpointing"),
        *(
            "attn_implementation",
            "_attn_implementation",
            "use_flash_attn",
            "_flash_attn_2_enabled",
            "cache_implementation",
        ),
        *(
            "unsloth_version",
            "unsloth_fixed",
            "unsloth_training_on_completions",
            "model_name",
            "license",
            "quantization",
        ),
    )
)
