/** Labels for messages of any kind: the default of sources that say nothing else. */
export const MESSAGE_LABELS = [
  { name: 'question', description: 'Somebody wants to know something.' },
  { name: 'problem', description: 'Something does not work, or somebody complains.' },
  { name: 'request', description: 'Somebody wants something to be done.' },
  { name: 'other', description: 'None of the others.' },
];
