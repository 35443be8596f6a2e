/** Calls a deployment of Sluice as an admin. Its address and the token are environment variables. */

const TRIES = 5;
const PAUSE_MS = 1_000;

/** @returns the address of the edge: SLUICE_URL, or that of `npm start` */
function edgeUrl(): string {
  return (process.env.SLUICE_URL || 'http://localhost:8787').replace(/\/$/, '');
}

/** Something that the deployment cannot return now, although other requests may succeed. */
export class Unavailable extends Error {}

/**
 * Calls the deployment, and retries if it is busy.
 *
 * @throws Unavailable with the deployment's message, except for the statuses in `taken`
 * @throws Error if nothing responds, if the token is rejected, or if a token is needed and SLUICE_TOKEN is not set
 */
export async function callEdge(
  method: 'GET' | 'PUT',
  path: string,
  { body, type, taken = [] }: { body?: string; type?: string; taken?: readonly number[] } = {},
): Promise<Response> {
  const token = process.env.SLUICE_TOKEN;
  const headers = {
    ...(token ? { authorization: `Bearer ${token}` } : {}),
    ...(type === undefined ? {} : { 'content-type': type }),
  };
  for (let tries = 1; ; tries += 1) {
    const request = { method, headers, ...(body === undefined ? {} : { body }) };
    const response = await fetch(edgeUrl() + path, request).catch((cause: unknown) => {
      throw new Error(`No deployment responds at ${edgeUrl()}. Set SLUICE_URL to the address of your deployment.`, {
        cause,
      });
    });
    if (response.ok || taken.includes(response.status)) return response;
    if (response.status === 401 && !token)
      throw new Error('SLUICE_TOKEN is not set. Set it to a token of the deployment, created with `npm run token`.');
    const text = await response.text();
    const mayTryAgain = response.status === 429 || response.status >= 500;
    if (!mayTryAgain || response.headers.get('x-should-retry') === 'false' || tries === TRIES) {
      const Failure = response.status === 401 || response.status === 403 ? Error : Unavailable;
      throw new Failure(`${method} ${path}: ${response.status} ${text}`);
    }
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS * tries));
  }
}

/** @throws Error if the deployment does not include the plugin that provides the routes of backups */
export async function requireTransferPlugin(): Promise<void> {
  const { plugins } = (await (await callEdge('GET', '/health')).json()) as { plugins: string[] };
  if (!plugins.includes('transfer'))
    throw new Error(
      'Backups require the plugin `transfer`, which this deployment does not include. Add it to the plugins of the Worker, and deploy again.',
    );
}

/** Yields the ids of a list, page by page. @param path with its query, if it has one @param taken statuses that mean no rows */
export async function* listIds(path: string, taken: readonly number[] = []): AsyncGenerator<string> {
  for await (const { id } of listRows<{ id: string }>(path, taken)) yield id;
}

/** Yields the rows of a list, page by page. @param path with its query, if it has one @param taken statuses that mean no rows */
export async function* listRows<Row>(path: string, taken: readonly number[] = []): AsyncGenerator<Row> {
  for (let after = ''; ; ) {
    const page = `limit=1000${after === '' ? '' : `&after_id=${encodeURIComponent(after)}`}`;
    const response = await callEdge('GET', `${path}${path.includes('?') ? '&' : '?'}${page}`, { taken });
    if (!response.ok) return;
    const { data, has_more, last_id } = (await response.json()) as {
      data: Row[];
      has_more: boolean;
      last_id: string | null;
    };
    yield* data;
    if (!has_more || last_id === null) return;
    after = last_id;
  }
}

/** @returns the path of the backup of a group's limits */
export function groupBackupPath(group: string): string {
  return `/groups/${encodeURIComponent(group)}/backup`;
}

/** @returns the path of a conversation's backup */
export function backupPath(account: string, conversation?: string): string {
  const of = `/accounts/${encodeURIComponent(account)}`;
  return conversation === undefined ? `${of}/backup` : `${of}/conversations/${conversation}/backup`;
}

/** @returns the path of the backup of what is stored in versions. @param ref a version, or to read the current one a name */
export function versionPath(kind: string, ref: string, account?: string): string {
  const whose = account === undefined ? '' : `?account=${encodeURIComponent(account)}`;
  return `/versions/${encodeURIComponent(kind)}/${encodeURIComponent(ref)}/backup${whose}`;
}

/** @returns a description of the error and its cause, for the user of the program */
export function describeFailure(thrown: unknown): string {
  const cause = thrown instanceof Error && thrown.cause instanceof Error ? ` (${thrown.cause.message})` : '';
  return thrown instanceof Error ? thrown.message + cause : String(thrown);
}

/** Prints an error and ends the program. */
export function stopWith(thrown: unknown): never {
  console.error(describeFailure(thrown));
  process.exit(1);
}
