/** Does nothing: this is no development server. */
export function develop(): void;
