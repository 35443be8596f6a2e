// Replaces the module `#development` except in `wrangler dev`, for which the build command writes another one: see
// development.ts.
export function develop() {}
