/** @returns the media type of a body, in small letters and without its parameters; empty where none is told */
export function mediaTypeOf({ headers }: { headers: Headers }): string {
  return (headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
}
