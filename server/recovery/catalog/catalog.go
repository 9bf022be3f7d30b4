// Package catalog is what is known of backups, incident or not: the restore points, what was checked when and by what, what to
// check next, whether every system has an adequate backup, and where damage came in. Like recovery it is pure.
package catalog
