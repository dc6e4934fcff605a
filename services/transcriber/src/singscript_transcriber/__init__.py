"""Transcription: finds where somebody sings or speaks, and writes down the words with their times as audio arrives."""
