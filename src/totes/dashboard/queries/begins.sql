-- The first capture: history begins there.
SELECT min(captured_at) AS begins FROM totes.batches
