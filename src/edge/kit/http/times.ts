/** @returns a time in the form of answers. @param milliseconds since 1970 */
export function toIsoTime(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}

/** @returns the same; null if there is no time. */
export function toIsoTimeOrNull(milliseconds: number | null | undefined): string | null {
  return milliseconds === undefined || milliseconds === null ? null : toIsoTime(milliseconds);
}
