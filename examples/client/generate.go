package main

//go:generate go tool oapi-codegen -package fleet -generate types,client -o fleet/fleet.go openapi.json
