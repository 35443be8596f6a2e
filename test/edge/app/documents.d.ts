/** What Vite gives of a document: its text. */
declare module '*.md?raw' {
  const text: string;
  export default text;
}
