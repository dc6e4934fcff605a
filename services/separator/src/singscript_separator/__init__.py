"""The separator: sound in, vocals and instrumental out, while it still arrives."""
