/** Paths at which wrangler's local explorer lists stored data, by its present and its former address. */
const PATHS = ['/cdn-cgi/local/explorer', '/cdn-cgi/explorer'].flatMap((base) => [
  `${base}/`,
  `${base}/api/storage/kv/namespaces`,
  `${base}/api/storage/kv/namespaces/STORE/keys`,
  `${base}/api/workers/durable_objects/namespaces`,
]);

/** @returns the status of each path of the explorer, without a credential */
export async function statusesOfExplorer(url: string): Promise<Record<string, number>> {
  const statuses = PATHS.map(async (path): Promise<[string, number]> => {
    const response = await fetch(url + path);
    await response.body?.cancel();
    return [path, response.status];
  });
  return Object.fromEntries(await Promise.all(statuses));
}

/** The statuses of an edge that has the explorer on, or off. */
export const EXPLORER_ON = Object.fromEntries(PATHS.map((path) => [path, 200]));
export const EXPLORER_OFF = Object.fromEntries(PATHS.map((path) => [path, 404]));
