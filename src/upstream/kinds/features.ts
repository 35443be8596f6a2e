/** What a path of the Claude API is for, for upstreams that do not have all of it. */

const FEATURES: readonly (readonly [prefix: string, name: string])[] = [
  ['/v1/messages/batches', 'message batches'],
  ['/v1/messages/count_tokens', 'token counts'],
  ['/v1/messages', 'messages'],
  ['/v1/files', 'files'],
  ['/v1/models', 'models'],
];

/** @returns what a path of the Claude API is for, in the plural; the path itself where nothing is known of it. */
export function featureOf(path: string): string {
  const [pathname = ''] = path.split('?', 1);
  const known = FEATURES.find(([prefix]) => pathname === prefix || pathname.startsWith(`${prefix}/`));
  return known?.[1] ?? pathname;
}

/** @returns what tells for a call what is not there: an upstream that has these features alone. */
export function onlyHas(...features: readonly string[]): (call: { path: string }) => string | undefined {
  return ({ path }) => {
    const feature = featureOf(path);
    return features.includes(feature) ? undefined : feature;
  };
}
