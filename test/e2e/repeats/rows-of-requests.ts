import { ANSWER, ASKED, type Ask, history, MODEL, type Row, times } from './row.ts';

const MESSAGES = 'POST /v1/messages';
const COUNTS = ['POST /count-tokens', 'POST /v1/messages/count_tokens'];

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
const inAnswer = (what: string, n: number, kind: string, stream: boolean): Row => ({
  what,
  where: [stream ? 'POST /messages' : MESSAGES],
  n,
  asks: (many): Ask => ({
    path: stream ? '/messages' : '/v1/messages',
    body: { ...ASKED, stream },
    headers: { [ANSWER]: `${kind} ${many}` },
  }),
});

const BEGUN = [ASKED.messages[0], { role: 'assistant', content: 'ok' }];
const text = (nth: number) => ({ type: 'text', text: `word ${nth}` });
const nested = (n: number, open: string, close: string) => `${open.repeat(n)}1${close.repeat(n)}`;
/** A body with a member of JSON that no object could be made of. */
const written = (member: string) => JSON.stringify({ ...ASKED, of_the_future: 0 }).replace('"of_the_future":0', member);
const batchOf = (n: number, params: object) => ({
  requests: times(n, (nth) => ({ custom_id: `item-${nth}`, params: { model: MODEL, max_tokens: 10, ...params } })),
});

/** A long body has at most 20,000 different keys or orders of keys. */
const MOST_KEYS = 19_900;

export const REQUEST_ROWS: readonly Row[] = [
  inBody('messages', 6_000, (n) => ({ messages: history(n) }), { most: 100_000 }),
  inBody('answers in a row', 8_000, (n) => ({
    messages: [ASKED.messages[0], ...times(n, () => ({ role: 'assistant', content: 'ok' })), ASKED.messages[0]],
  })),
  {
    what: 'answers in a row, in a conversation',
    where: ['POST /messages', ...COUNTS],
    n: 500,
    most: 5_000,
    prepare: (send, _, id) => send({ path: '/conversations', body: { id, messages: BEGUN }, status: 201 }),
    asks: (n, id) =>
      ['/messages', '/count-tokens', '/v1/messages/count_tokens'].map((path) => ({
        path,
        status: 400,
        body: { ...ASKED, conversation: id, messages: [BEGUN[0], ...times(n, () => BEGUN[1]), BEGUN[0]] },
      })),
  },
  inMessage('blocks of a message', 10_000, (n) => times(n, text)),
  inMessage('cache breakpoints', 4_000, (n) =>
    times(n, (nth) => ({ ...text(nth), cache_control: { type: 'ephemeral' } })),
  ),
  inMessage('parts of the result of a tool', 8_000, (n) => [
    { type: 'tool_result', tool_use_id: 'toolu_1', content: times(n, text) },
  ]),
  inMessage(
    'names of files',
    2_000,
    (n) => times(n, (nth) => ({ type: 'document', source: { type: 'file', file_id: `file_${nth}` } })),
    {
      asks: (n) => ({
        path: '/v1/messages',
        status: 404,
        body: {
          ...ASKED,
          messages: [
            {
              role: 'user',
              content: times(n, (nth) => ({ type: 'document', source: { type: 'file', file_id: `file_${nth}` } })),
            },
          ],
        },
      }),
    },
  ),
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
  {
    what: 'messages that are none',
    where: [MESSAGES, ...COUNTS],
    n: 5_000,
    asks: (n) =>
      ['/v1/messages', '/count-tokens', '/v1/messages/count_tokens'].map((path) => ({
        path,
        status: 400,
        body: { ...ASKED, messages: [...ASKED.messages, ...times(n, () => ({ role: 'user', content: 7 }))] },
      })),
  },
  inBody('blocks of the system prompt', 8_000, (n) => ({ system: times(n, text) })),
  inBody('stop sequences', 40_000, (n) => ({ stop_sequences: times(n, (nth) => `stop ${nth}`) })),
  inBody('models to fall back to', 2_000, (n) => ({ fallbacks: times(n, (nth) => ({ model: `model-${nth}` })) })),
  inBody('keys of an object', 2_400, (n) => ({ metadata: Object.fromEntries(times(n, (nth) => [`key_${nth}`, 1])) }), {
    most: MOST_KEYS,
  }),
  inBody(
    'properties of a tool’s schema',
    2_400,
    (n) => ({
      tools: [
        {
          name: 'tool',
          input_schema: {
            type: 'object',
            properties: Object.fromEntries(times(n, (nth) => [`key_${nth}`, { type: 'string' }])),
          },
        },
      ],
    }),
    { most: MOST_KEYS },
  ),
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
  inBody('numbers of a list', 50_000, (n) => ({ of_the_future: times(n, (nth) => nth) })),
  {
    what: 'betas, tags and other headers',
    where: [MESSAGES],
    n: 40,
    most: 400,
    asks: (n) => ({
      path: '/v1/messages',
      body: ASKED,
      headers: {
        'anthropic-beta': times(n, (nth) => `beta-${nth}`).join(),
        ...Object.fromEntries(times(n, (nth) => [`x-header-${nth}`, 'value'])),
      },
    }),
  },
  {
    what: 'words of a user-agent',
    where: [MESSAGES],
    n: 100,
    most: 800,
    asks: (n) => ({
      path: '/v1/messages',
      body: ASKED,
      headers: { 'user-agent': `${'ai-sdk-'.repeat(n)} ${' ai-sdk/'.repeat(n)}` },
    }),
  },
  {
    what: 'tags in a header',
    where: [MESSAGES],
    n: 100,
    most: 1_000,
    asks: (n) => ({
      path: '/v1/messages',
      body: ASKED,
      status: 400,
      headers: { 'sluice-tags': times(n, (nth) => `tag${nth}=a`).join() },
    }),
  },
  {
    what: 'parameters of a query',
    where: ['GET /usage/requests'],
    n: 100,
    most: 1_000,
    asks: (n) => ({ method: 'GET', path: `/usage/requests?${times(n, (nth) => `x${nth}=1`).join('&')}` }),
  },
  inAnswer('deltas of a stream', 4_000, 'deltas', true),
  inAnswer('blocks of a stream', 2_000, 'blocks', true),
  inAnswer('pings of a stream', 8_000, 'pings', true),
  inAnswer('characters of one event', 500_000, 'characters', true),
  inAnswer('blocks of an answer', 20_000, 'content', false),
  {
    what: 'items of a batch',
    where: ['POST /v1/messages/batches'],
    n: 1_000,
    most: 100_000,
    asks: (n) => ({ path: '/v1/messages/batches', body: batchOf(n, { messages: ASKED.messages }) }),
  },
  {
    what: 'results of a batch',
    where: ['GET /v1/messages/batches/:id/results', 'GET /v1/messages/batches/:id'],
    n: 250,
    most: 100_000,
    prepare: async (send, n) => {
      const body = batchOf(n, { messages: ASKED.messages });
      const made = await send({ path: '/v1/messages/batches', body, headers: { [ANSWER]: 'results' } });
      return (JSON.parse(made) as { id: string }).id;
    },
    // Its first poll settles it, and is an alarm's.
    asks: (n, _, id) => [
      { method: 'GET', path: `/v1/messages/batches/${id}`, isAwaited: true, has: `"succeeded":${n}` },
      { method: 'GET', path: `/v1/messages/batches/${id}/results` },
    ],
  },
  {
    what: 'messages of an item of a batch',
    where: ['POST /v1/messages/batches'],
    n: 2_000,
    asks: (n) => ({ path: '/v1/messages/batches', body: batchOf(1, { messages: history(n) }) }),
  },
  {
    what: 'keys of an item of a batch',
    where: ['POST /v1/messages/batches'],
    n: 2_400,
    most: MOST_KEYS,
    asks: (n) => ({
      path: '/v1/messages/batches',
      body: batchOf(1, { ...Object.fromEntries(times(n, (nth) => [`key_${nth}`, 1])), messages: ASKED.messages }),
    }),
  },
];
