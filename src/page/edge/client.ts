/** Connects the page to the edge: the state of the connection, the credential, and the client. */

import { computed, signal } from '@preact/signals';
import { readErrorResponse } from '../../client/errors.ts';
import { type Client, createClient, SluiceError } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import type { HealthAnswer, ServedRoutePath } from '../../edge/answers.ts';
import { connectionState, createTokenSignal, storeToken, token } from './credential.ts';
import { describeErrorForUser, formatErrorDetails } from './error-messages.ts';
import { hasUnrestrictedScope, identity } from './identity.ts';
import { fetchAndRecordCall } from './last-calls.ts';
import { loadModels } from './models.ts';
import { includedPlugins } from './plugins.ts';

export const upstream = signal<HealthAnswer['upstream'] | undefined>(undefined);
/** The time since which an upstream rejects the deployment, and the operator's remedy; both undefined if none does. */
export const deploymentRejection = createTokenSignal<Pick<HealthAnswer, 'since' | 'todo'>>({});
/** The names of the edge's own tools; it lists them in development. */
export const edgeToolNames = signal<readonly string[]>([]);
/** Why there is no list of models: then only agents can be used in the chat, and all other parts work. */
export const modelsFault = createTokenSignal<string | undefined>(undefined);
/** Why the edge cannot be used: it has rejected the token, or cannot be reached. */
export const connectionFault = signal<string | undefined>(undefined);

const currentClient = computed(() =>
  createClient({
    baseURL: location.origin,
    fetch: fetchOrShowTokenGate,
    ...(token.value === undefined ? {} : { token: token.value }),
  }),
);

/** @returns the client with the current credential */
export function getClient(): Client {
  return currentClient.value;
}

/** Reads JSON from the edge. @throws SluiceError with the edge's message */
export async function readJson<T>(path: ServedRoutePath, call?: Parameters<Client['fetch']>[1]): Promise<T> {
  return (await (await getClient().fetch(path, call)).json()) as T;
}

/** Sends a request whose response does not matter. An unread body would occupy one of the browser's few connections. */
export async function sendRequest(path: ServedRoutePath, call: Parameters<Client['fetch']>[1]): Promise<void> {
  await (await getClient().fetch(path, call)).text();
}

/** Finds out whether the edge answers and the credential is valid. */
export async function checkConnection(): Promise<void> {
  try {
    await refreshHealth();
    // GET /models. Any token can read its own account, which finds out whether the token is valid.
    if (hasUnrestrictedScope('messages', 'admin:read')) await refreshModelList();
    else await readJson(`/accounts/${encodePathSegment(identity.value.account)}`, { query: { if_absent: 'empty' } });
    if (connectionState.value !== 'gate') connectionState.value = 'ready';
  } catch (thrown) {
    if (connectionState.value === 'gate') return;
    connectionFault.value = formatErrorForUser(thrown);
    connectionState.value = 'unreachable';
  }
}

async function refreshHealth(): Promise<void> {
  const health = await readJson<HealthAnswer>('/health');
  upstream.value = health.upstream;
  deploymentRejection.value = health;
  edgeToolNames.value = health.tools ?? [];
  includedPlugins.value = new Set(health.plugins);
}

/**
 * Lists the models, and shows why that fails. The edge may have learned only now that its key is rejected, so its health is
 * read again.
 */
export async function refreshModelList(): Promise<void> {
  try {
    await loadModels(getClient());
    modelsFault.value = undefined;
  } catch (thrown) {
    modelsFault.value = formatErrorForUser(thrown);
    if (connectionState.value !== 'gate') await refreshHealth();
  }
}

export async function changeToken(next: string | undefined): Promise<void> {
  storeToken(next);
  connectionFault.value = undefined;
  connectionState.value = 'starting';
  await checkConnection();
}

/** @returns an error as a sentence for the user; the edge's message is on the lines below, see `FaultMessage` */
export function formatErrorForUser(thrown: unknown): string {
  if (thrown instanceof SluiceError) return `${describeErrorForUser(thrown)}\n${formatErrorDetails(thrown)}`;
  return thrown instanceof Error ? thrown.message : String(thrown);
}

async function fetchOrShowTokenGate(url: string, init: RequestInit): Promise<Response> {
  const sent = token.value;
  const response = await fetchAndRecordCall(url, init);
  // What the token before this one can read does not belong to this one.
  if (sent !== token.value) throw new SluiceError('closed', 'Another token is used now.');
  if (response.status !== 401) return response;
  // A new user without a token has made no mistake, so ask for a token without showing the 401 as an error.
  if (sent !== undefined) connectionFault.value = formatErrorForUser(await readErrorResponse(response.clone()));
  connectionState.value = 'gate';
  // Everything that was read with the rejected token disappears with it.
  storeToken(undefined);
  return response;
}
