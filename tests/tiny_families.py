"""Tiny random models of many architectures, built from the configuration classes of transformers; nothing is fetched.

Sliding windows are WINDOW columns, so that a prompt of 40 tokens passes them.
"""

import torch
import transformers

WINDOW = 16
VOCABULARY = 300
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "attention_dropout": 0.0,
}
HEAD = {"head_dim": 16}
SCALED = {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "attention_multiplier": 0.1, "residual_multiplier": 0.3}
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
LATENT = {  # multi-head latent attention: keys are 16 + 8 wide, values 12
    "kv_lora_rank": 16,
    "q_lora_rank": None,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 12,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "first_k_dense_replace": 1,
    "num_key_value_heads": 4,
    "n_group": 1,
    "topk_group": 1,
}
LONG = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4}
LONG |= {"original_max_position_embeddings": 256}
SPREAD = {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
SPREAD |= {"original_max_position_embeddings": 64}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512}
MIXED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
ALTERNATING = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
SLIDING = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}

SUPPORTED = {  # name -> (configuration class, what differs from SIZES)
    "qwen2": ("Qwen2Config", {}),
    "qwen2, sliding": ("Qwen2Config", SLIDING),
    "qwen3": ("Qwen3Config", HEAD),
    "qwen2 mixture": ("Qwen2MoeConfig", MIXED | {"shared_expert_intermediate_size": 24}),
    "qwen3 mixture": ("Qwen3MoeConfig", HEAD | MIXED),
    "llama 2": ("LlamaConfig", {"num_key_value_heads": 4}),
    "llama 3": ("LlamaConfig", {"rope_parameters": SPREAD}),
    "code llama": ("LlamaConfig", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "deepseek coder": ("LlamaConfig", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e5, "factor": 4.0}}),
    "mistral": ("MistralConfig", {"sliding_window": WINDOW}),
    "mistral, no window": ("MistralConfig", {"sliding_window": None}),
    "mixtral": ("MixtralConfig", EXPERTS | {"sliding_window": WINDOW}),
    "starcoder 2": ("Starcoder2Config", {"sliding_window": WINDOW}),
    "deepseek v2 lite": ("DeepseekV2Config", LATENT),
    "deepseek v3": ("DeepseekV3Config", LATENT | {"q_lora_rank": 8}),
    "phi 3": ("Phi3Config", {"sliding_window": WINDOW}),
    "phi 4": ("Phi3Config", {"sliding_window": None, "rope_parameters": LONG, "original_max_position_embeddings": 256}),
    "gemma 2": ("Gemma2Config", HEAD | {"sliding_window": WINDOW, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}),
    "gemma 3": ("Gemma3TextConfig", HEAD | ALTERNATING),
    "gemma 3 with eyes": ("Gemma3Config", {}),
    "granite": ("GraniteConfig", SCALED),
    "codegen": ("CodeGenConfig", OLD | {"rotary_dim": 4}),
    "falcon": ("FalconConfig", {"alibi": False}),
    "gpt-2": ("GPT2Config", OLD),
    "gpt-j": ("GPTJConfig", OLD | {"rotary_dim": 4}),
    "starcoder 1": ("GPTBigCodeConfig", OLD),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "cohere": ("CohereConfig", {"logit_scale": 0.06}),
    "cohere 2": ("Cohere2Config", HEAD | ALTERNATING | {"logit_scale": 0.25}),
    "gpt-oss": ("GptOssConfig", HEAD | EXPERTS | ALTERNATING),
}
OTHERS = {
    "bloom": ("BloomConfig", {"n_layer": 2, "n_head": 4}),
    "mamba": ("MambaConfig", {"state_size": 8}),
    "falcon, alibi": ("FalconConfig", {"alibi": True}),
    "gpt-neo": ("GPTNeoConfig", {"attention_types": [[["global", "local"], 1]], "window_size": WINDOW, "num_layers": 2}),
    "llama 4": ("Llama4TextConfig", HEAD | EXPERTS | {"attention_chunk_size": WINDOW, "intermediate_size_mlp": 48}),
    "mpt": ("MptConfig", {"d_model": 32, "n_layers": 2, "n_heads": 4}),
}
REFUSED = (  # name, its class, what the refusal says
    ("bloom", "BloomForCausalLM", "the engine cannot run it (ValueError: "),
    ("mamba", "MambaForCausalLM", "the engine cannot run it (RuntimeError: "),
    ("falcon, alibi", "FalconForCausalLM", "the engine cannot run it (ValueError: "),
    ("llama 4", "Llama4ForCausalLM", "the engine cannot run it (AttributeError: "),
    ("mpt", "MptForCausalLM", "the engine's logits differ from the model's own by"),
    ("gpt-neo", "GPTNeoForCausalLM", "on prompts of 40 tokens, past its window of 16"),
)


def seeing():
    """A model that also reads images, as the larger Gemma 3 do."""
    text = transformers.Gemma3TextConfig(**(SIZES | HEAD | ALTERNATING))
    eyes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformers.SiglipVisionConfig(image_size=28, patch_size=14, **eyes)
    return transformers.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4)


def build(name):
    """The random model of that name in float32, in eval mode."""
    kind, given = (SUPPORTED | OTHERS)[name]
    config = seeing() if kind == "Gemma3Config" else getattr(transformers, kind)(**(SIZES | given))
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    torch.random.set_rng_state(state)
    return model.eval().requires_grad_(False)
