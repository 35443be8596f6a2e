import { createLongBackup } from '#test/support/long-backup.ts';

/** A request of the table of repetitions. */
export interface Ask {
  path: string;
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** JSON, or what goes as it is: a string or a form. */
  body?: unknown;
  headers?: Record<string, string>;
  /** What it must be answered with. Default: 200 */
  status?: number;
}

/** The header of a request that says how its answer repeats itself, as `deltas 100`: the edge sends it up. */
export const ANSWER = 'x-answer';

/** Sends a request of the table, and gives the text of the answer. @throws Error for another status than the one named */
export type Send = (ask: Ask) => Promise<string>;

/** Something that a caller can repeat, and the requests whose CPU may grow no more than in proportion. */
export interface Row {
  /** What is repeated. */
  what: string;
  /** The routes that read it. */
  where: readonly string[];
  /** How often it is repeated, and eight times as often. By night more, but eight times that at most `most`. */
  n: number;
  /** The most that may be sent; absent where only the length of a body ends it. */
  most?: number;
  /** Does what is not measured. @param id a name that no other measurement has */
  prepare?: (send: Send, n: number, id: string) => Promise<string>;
  /** Makes the request. */
  asks: (n: number, id: string) => Ask;
}

/** @returns the results of a function for 0, 1, 2 and so on */
export const times = <T>(n: number, make: (nth: number) => T): T[] => Array.from({ length: n }, (_, nth) => make(nth));

export const MODEL = 'claude-haiku-4-5';
const QUESTION = { role: 'user', content: 'Go on.' };
/** The members that every Messages request of the table has. */
const ASKED = { model: MODEL, max_tokens: 10, stream: false, messages: [QUESTION] };
/** @returns a history of so many messages, which ends with a question */
const history = (n: number) => [
  ...times(n, (nth) => ({ role: nth % 2 === 0 ? 'user' : 'assistant', content: `word ${nth}` })),
  ...(n % 2 === 0 ? [QUESTION] : []),
];

const MESSAGES = 'POST /v1/messages';

/** A row of `/v1/messages` without a conversation, whose body has these members. */
const inBody = (what: string, n: number, members: (n: number) => object, more: Partial<Row> = {}): Row => ({
  what,
  where: [MESSAGES],
  n,
  asks: (many) => ({ path: '/v1/messages', body: { ...ASKED, ...members(many) } }),
  ...more,
});

/** A row whose message has these blocks. */
const inMessage = (what: string, n: number, content: (n: number) => unknown, more: Partial<Row> = {}) =>
  inBody(what, n, (many) => ({ messages: [{ role: 'user', content: content(many) }] }), more);

/** A row of what the upstream answers. @param stream whether it streams */
const inAnswer = (what: string, n: number, kind: string, stream: boolean, most?: number): Row => ({
  what,
  where: [stream ? 'POST /messages' : MESSAGES],
  n,
  ...(most && { most }),
  asks: (many): Ask => ({
    path: stream ? '/messages' : '/v1/messages',
    body: { ...ASKED, stream },
    headers: { [ANSWER]: `${kind} ${many}` },
  }),
});

const begin = (n: number, id: string): Ask => ({
  path: '/conversations',
  status: 201,
  body: { id, messages: history(n - 1) },
});
const text = (nth: number) => ({ type: 'text', text: `word ${nth}` });
const nested = (n: number, open: string, close: string) => `${open.repeat(n)}1${close.repeat(n)}`;
/** A body with a member of JSON that no object could be made of. */
const written = (member: string) => JSON.stringify({ ...ASKED, of_the_future: 0 }).replace('"of_the_future":0', member);
const batchOf = (n: number, params: object) => ({
  requests: times(n, (nth) => ({ custom_id: `item-${nth}`, params: { model: MODEL, max_tokens: 10, ...params } })),
});

/** A long body has at most 20,000 different keys or orders of keys. */
const MOST_KEYS = 19_900;

/** What can be repeated where. */
export const ROWS: readonly Row[] = [
  inBody('messages', 6_000, (n) => ({ messages: history(n) }), { most: 100_000 }),
  inBody('answers in a row', 8_000, (n) => ({
    messages: [ASKED.messages[0], ...times(n, () => ({ role: 'assistant', content: 'ok' })), ASKED.messages[0]],
  })),
  inMessage('blocks of a message', 10_000, (n) => times(n, text)),
  inMessage('escaped characters', 250_000, (n) => '\u0001'.repeat(n)),
  inMessage('what looks like the edge’s own stand-ins', 50_000, (n) => '~string:0123456789abcdef:1~'.repeat(n)),
  inBody('calls of the edge, sent back without a conversation', 500, (n) => ({
    messages: [
      ...times(n, (nth) => [
        { role: 'user', content: 'Go on.' },
        {
          role: 'assistant',
          content: [
            { type: 'mcp_tool_use', id: `call_${nth}`, name: 'dice', input: {}, server_name: 'edge' },
            { type: 'mcp_tool_result', tool_use_id: `call_${nth}`, is_error: false, content: [text(nth)] },
            text(nth),
          ],
        },
      ]).flat(),
      ASKED.messages[0],
    ],
  })),
  inBody('calls of the edge in one answer', 500, (n) => ({
    messages: [
      { role: 'user', content: 'Go on.' },
      {
        role: 'assistant',
        content: times(n, (nth) => [
          { type: 'mcp_tool_use', id: `call_${nth}`, name: 'dice', input: {}, server_name: 'edge' },
          { type: 'mcp_tool_result', tool_use_id: `call_${nth}`, is_error: false, content: [text(nth)] },
          text(nth),
        ]).flat(),
      },
      ASKED.messages[0],
    ],
  })),
  inBody('tools', 4_000, (n) => ({
    tools: times(n, (nth) => ({ name: `tool_${nth}`, description: 'A tool.', input_schema: { type: 'object' } })),
  })),
  ...[{ type: 'x' }, { type: 'advisor_20260301', model: MODEL }, { type: 'web_search_20260209', max_uses: 1 }].map(
    (tool) =>
      inBody(`tools of the type ${tool.type}`, 5_000, (n) => ({ tools: times(n, () => ({ name: 'tool', ...tool })) })),
  ),
  inBody('keys of an object', 2_400, (n) => ({ metadata: Object.fromEntries(times(n, (nth) => [`key_${nth}`, 1])) }), {
    most: MOST_KEYS,
  }),
  inBody('keys of the same name', 2_400, () => ({}), {
    most: MOST_KEYS,
    asks: (n) => ({ path: '/v1/messages', body: written(times(n, () => '"of_the_future":1').join()) }),
  }),
  inBody('lists in lists', 12_500, () => ({}), {
    most: 100_000,
    asks: (n) => ({ path: '/v1/messages', body: written(`"of_the_future":${nested(n, '[', ']')}`) }),
  }),
  inBody('objects in objects', 5_000, () => ({}), {
    most: 40_000,
    asks: (n) => ({ path: '/v1/messages', body: written(`"of_the_future":${nested(n, '{"a":', '}')}`) }),
  }),
  inAnswer('deltas of a stream', 4_000, 'deltas', true),
  inAnswer('characters of one event', 500_000, 'characters', true),
  // An answer that is not streamed is cut after 16 MB.
  inAnswer('blocks of an answer', 20_000, 'content', false, 480_000),
  {
    what: 'items of a batch',
    where: ['POST /v1/messages/batches'],
    n: 1_000,
    most: 100_000,
    asks: (n) => ({ path: '/v1/messages/batches', body: batchOf(n, { messages: ASKED.messages }) }),
  },
  {
    what: 'messages that a conversation begins with',
    where: ['POST /conversations'],
    n: 1_000,
    most: 99_000,
    asks: begin,
  },
  {
    what: 'messages that are all sent again',
    where: ['POST /messages'],
    n: 600,
    most: 4_900,
    prepare: (send, n, id) => send(begin(n, id)),
    asks: (n, id) => ({
      path: '/messages',
      body: { ...ASKED, conversation: id, messages: [...history(n - 1), { role: 'assistant', content: 'x' }] },
      status: 400,
    }),
  },
  {
    what: 'lines of a backup',
    where: ['PUT /accounts/:id/conversations/:conversation/backup'],
    n: 80,
    asks: (n, id) => ({
      method: 'PUT',
      path: `/accounts/dev/conversations/${id}/backup`,
      body: createLongBackup(n),
      headers: { 'content-type': 'application/jsonl' },
      status: 201,
    }),
  },
];
