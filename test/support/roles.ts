/** @returns the roles of so many messages that come by turns, the first of them the user's. */
export function createAlternatingRoles(messages: number): string[] {
  return Array.from({ length: messages }, (_, at) => (at % 2 === 0 ? 'user' : 'assistant'));
}
