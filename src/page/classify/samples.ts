/** Samples to click, for users without texts of their own. */
export interface ClassifySample {
  title: string;
  text: string;
  labels: readonly string[];
  multi?: boolean;
  allowNone?: boolean;
}

const TICKET_LABELS = [
  'billing: invoices, charges, refunds, payment',
  'bug: something is broken, crashes, or shows an error',
  'feature: a wish for something new',
  'account: login, password, profile, email address',
];

const TICKET_SCHEMA = `{
  "type": "object",
  "properties": {
    "priority": { "type": "string", "enum": ["low", "medium", "high"], "description": "high: urgent, today" },
    "category": { "type": "string", "enum": ["billing", "bug", "other"], "description": "billing: charged, invoice" },
    "requires_human": { "type": "boolean" }
  },
  "required": ["priority", "category", "requires_human"]
}`;

export const SAMPLES: readonly ClassifySample[] = [
  {
    title: 'A support ticket',
    text: 'I was charged twice this month. Please send the second payment back.',
    labels: TICKET_LABELS,
  },
  {
    title: 'A ticket with a schema',
    text: 'I was charged twice this month. Please call me back today, this is urgent.',
    labels: [TICKET_SCHEMA],
  },
  {
    title: 'The mood of a review',
    text: 'Arrived late and the box was torn, but I love the lamp and would buy it again.',
    labels: ['love: would buy it again', 'meh: neither good nor bad', 'angry: wants the money back'],
  },
  {
    title: 'Several topics at once',
    text: 'The hotel was clean, the breakfast cold, and the beach a long walk away.',
    labels: ['breakfast', 'beach', 'staff', 'clean rooms', 'price'],
    multi: true,
  },
];
