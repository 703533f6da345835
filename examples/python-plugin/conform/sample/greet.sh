echo "$GREETING, world"
