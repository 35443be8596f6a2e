/** Names the features of the Claude API by their paths, for upstreams that do not have all features. */

const FEATURES: readonly (readonly [prefix: string, name: string])[] = [
  ['/v1/messages/batches', 'message batches'],
  ['/v1/messages/count_tokens', 'token counts'],
  ['/v1/messages', 'messages'],
  ['/v1/files', 'files'],
  ['/v1/models', 'models'],
];

/** @returns the feature of a path of the Claude API, in the plural; the path itself if it is not known. */
export function getApiFeatureName(path: string): string {
  const [pathname = ''] = path.split('?', 1);
  const feature = FEATURES.find(([prefix]) => pathname === prefix || pathname.startsWith(`${prefix}/`));
  return feature?.[1] ?? pathname;
}

/** @returns the `lacks` function of an upstream that has only these features. */
export function createMissingFeatureFinder(
  ...features: readonly string[]
): (call: { path: string }) => string | undefined {
  return ({ path }) => {
    const feature = getApiFeatureName(path);
    return features.includes(feature) ? undefined : feature;
  };
}
