// Stands for `#development` wherever the build command has not written a module for `wrangler dev`: see development.ts.
export function develop() {}
