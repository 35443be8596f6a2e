/** Conversations of many turns, without having each turn answered. */

const MODEL = 'claude-haiku-4-5';
const AT = Date.parse('2026-11-20T12:00:00Z');
const PROFILE = {
  ...{
    createdAt: AT,
    title: null,
    metadata: null,
    model: MODEL,
    maxTokens: 10,
    prefix: null,
    agent: null,
    retentionSeconds: null,
  },
  ...{ history: null, sentFrom: 0, cost: 0, inputTokens: 0, outputTokens: 0 },
};
const TURN = {
  ...{
    key: null,
    hash: '',
    status: 'complete',
    route: 'messages',
    model: MODEL,
    beganAt: AT,
    endedAt: AT + 1,
  },
  ...{ grant: null, outcome: null, settled: true, cost: 0, tokens: null, frame: null, sentFrom: 0, follows: false },
  ...{ events: 1, run: null, notes: null },
};
const message = (turn: number, seq: number, role: string) => [
  'message',
  { seq, turn, id: `msg_${seq}`, role, createdAt: AT, origin: null },
  { role, content: 'word' },
];

/** @returns the backup of a conversation of so many turns */
export const backupOf = (turns: number): string =>
  [
    ['profile', PROFILE],
    ...Array.from({ length: turns }, (_, nth) => [
      ['turn', { ...TURN, seq: nth + 1, id: `turn_${nth + 1}`, requestId: `req_${nth + 1}` }],
      message(nth + 1, nth * 2 + 1, 'user'),
      message(nth + 1, nth * 2 + 2, 'assistant'),
    ]).flat(),
    ['end', null],
  ]
    .map((line) => `${JSON.stringify(line)}\n`)
    .join('');
