"""Which words of a photo are searched, on any database."""

VIEW = "photo_texts"  # shows them, the tags as one text
WORDS = ("title", "caption", "tags", "category", "city", "region", "country", "camera", "ocr_text", "filename")
PARTS = ("filename", "item_id", "ocr_text")  # where parts of words are looked for, too
