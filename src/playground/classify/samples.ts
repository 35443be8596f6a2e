/** Samples to click, for users without texts of their own. */
export interface Sample {
  title: string;
  text: string;
  labels: readonly string[];
  multi?: boolean;
  allowNone?: boolean;
}

const TICKETS = [
  'billing: invoices, charges, refunds, payment',
  'bug: something is broken, crashes, or shows an error',
  'feature: a wish for something new',
  'account: login, password, profile, email address',
];

export const SAMPLES: readonly Sample[] = [
  {
    title: 'A support ticket',
    text: 'I was charged twice this month. Please send the second payment back.',
    labels: TICKETS,
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

/** Examples to evaluate a classifier of tickets: in each line the expected label, then the text. */
export const TICKET_EXAMPLES = [
  'billing: Why is there a charge on my card that I do not know?',
  'billing: Please send me the invoices of last year.',
  'billing: I want a refund for the second payment.',
  'bug: The app crashes when I open the map.',
  'bug: Since the update the export shows an error.',
  'bug: The search is broken: it finds nothing.',
  'feature: I wish there was a dark theme.',
  'feature: Could you add something new, like sharing of lists?',
  'feature: A calendar would be nice.',
  'account: I forgot my password.',
  'account: How do I change the email address of my profile?',
  'account: The login asks for a code that never comes.',
].join('\n');
