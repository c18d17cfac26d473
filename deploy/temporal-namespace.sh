#!/bin/sh
# Makes the namespace and the search attributes of the orders, and ends when orders can use them. Every step leaves alone
# what is there already. TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say where.
set -eu

# The server takes about ten seconds to notice what is new, and refuses it until then.
within_a_minute() {
    for _ in $(seq 60); do
        if "$@"; then return; fi
        sleep 1
    done
    return 1
}

# `create` does not read TEMPORAL_NAMESPACE by itself.
temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 72h

# Each name needs a type of its own: without one it is silently left out.
within_a_minute temporal operator search-attribute create \
    --name OrderIds --type KeywordList --name CustomerIds --type KeywordList --name ParkedStages --type KeywordList
within_a_minute temporal workflow count --query "OrderIds = '' AND CustomerIds = '' AND ParkedStages = ''"
