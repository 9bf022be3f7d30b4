// Package backups keeps the catalog of restore points in peacetime and in an incident: a small loop in the coordinator's order
// (decide, append, apply, act) with a journal of its own.
package backups
