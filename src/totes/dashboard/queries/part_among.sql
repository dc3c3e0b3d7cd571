-- That a row is one of those that the filter chooses by one of its keys.
({chosen}::int[] IS NULL OR {key} = ANY({chosen}::int[]))
