#!/bin/sh
# Makes Temporal's two databases and brings their tables to this version. Every step leaves alone what is there already.
set -eu

prepare() {
    database=$1 tables=$2
    tool="temporal-sql-tool --plugin postgres12 --ep postgres -p 5432 -u lanka --db $database"
    $tool create
    $tool setup-schema -v 0.0
    $tool update-schema -d "/etc/temporal/schema/postgresql/v12/$tables/versioned"
}

prepare temporal temporal
prepare temporal_visibility visibility
