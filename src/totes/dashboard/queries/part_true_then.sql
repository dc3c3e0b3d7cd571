-- That a version was true at the moment that the filter names.
{begun} AND NOT coalesce({ended}, false)
