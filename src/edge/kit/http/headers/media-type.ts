/** @returns the media type of a body, in lower case and without its parameters; empty if there is none */
export function parseMediaType({ headers }: { headers: Headers }): string {
  return (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}
