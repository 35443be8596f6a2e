import { Conversations } from './conversations.ts';
import type {
  CountAnswer,
  CountRequest,
  LedgerRow,
  MessageRequest,
  NamedRow,
  Page,
  PageRequest,
  PrefixAnswer,
  PrefixPut,
  PrefixStats,
  PrefixStatsRequest,
  StoredPrefix,
  UsageReport,
  UsageRequest,
  VersionRow,
} from './requests.ts';
import { Run, type RunRequest } from './run.ts';
import { MessageStream, type StreamOptions } from './stream.ts';
import { type Call, type ClientOptions, Transport } from './transport.ts';

export type Client = ReturnType<typeof createClient>;

/**
 * Makes a client of one edge.
 *
 * @example
 * const sluice = createClient({ baseURL: 'https://edge.example.com', token: () => fetchToken() });
 * const stream = sluice.messages.stream({ conversation: 'trip', model, max_tokens, messages });
 * for await (const text of stream.textDeltas()) show(text);
 */
export function createClient(options: ClientOptions) {
  const transport = new Transport(options);
  const stream = (request: MessageRequest, how?: StreamOptions) =>
    new MessageStream(transport, { conversation: request.conversation, body: JSON.stringify(request) }, how);
  return {
    messages: {
      /**
       * Asks for an answer and shows it as it comes. In a conversation a lost connection is resumed; elsewhere it is
       * the error `connection_error`.
       */
      stream,
      /** The same with tools that run here: asks again with what they give, until an answer calls none. */
      run: (request: RunRequest, how?: StreamOptions) => new Run((turn) => stream(turn, how), request, how),
    },
    conversations: new Conversations(transport),
    /** Counts a prompt, and says whether it fits its model and what it costs as input. */
    countTokens: (request: CountRequest): Promise<CountAnswer> =>
      transport.json('/count-tokens', { method: 'POST', body: request }),
    prefixes: {
      /** Stores a new version, or points the name at one that there is. */
      put: (name: string, prefix: PrefixPut): Promise<PrefixAnswer> =>
        transport.json(prefixAt(name), { method: 'PUT', body: prefix }),
      /** In the order of their names. */
      list: (page?: PageRequest): Promise<Page<NamedRow>> => transport.json('/prefixes', { query: page }),
      /** @param ref `name` or `name@version` */
      get: (ref: string): Promise<StoredPrefix> => transport.json(prefixAt(ref)),
      /** Newest first. */
      versions: (name: string, page?: PageRequest): Promise<Page<VersionRow>> =>
        transport.json(prefixAt(name, '/versions'), { query: page }),
      /** What it has saved, by day and version. */
      stats: (name: string, days?: PrefixStatsRequest): Promise<PrefixStats> =>
        transport.json(prefixAt(name, '/stats'), { query: days }),
      delete: async (name: string): Promise<void> => {
        await transport.send(prefixAt(name), { method: 'DELETE' });
      },
    },
    /** What was spent, in sums by day, model, conversation or prefix. */
    usage: (request?: UsageRequest): Promise<UsageReport> => transport.json('/usage', { query: request }),
    /** The ledger: a row a request, newest first. */
    requests: (page?: PageRequest & Pick<UsageRequest, 'account'>): Promise<Page<LedgerRow>> =>
      transport.json('/usage/requests', { query: page }),
    /**
     * Any other route of the edge.
     *
     * @throws SluiceError as the edge says
     */
    fetch: (path: string, call?: Call): Promise<Response> => transport.send(path, call),
  };
}

function prefixAt(name: string, rest = ''): string {
  // The versions' mark stands as it is in the names of versions.
  return `/prefixes/${encodeURIComponent(name).replace('%40', '@')}${rest}`;
}
