/** Text as bytes, and back. They keep nothing between two calls. */
export const encoder: TextEncoder = new TextEncoder();
export const decoder: TextDecoder = new TextDecoder();
