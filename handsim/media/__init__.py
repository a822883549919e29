"""Pictures and videos as people have them: decoding that refuses politely."""
