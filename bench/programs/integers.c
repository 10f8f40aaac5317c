/* SPDX-License-Identifier: Apache-2.0 */
/* Integer work of control software: a sorted list, a matrix of 16 bit, a lexer as a state machine, a checksum. */
#include "bench.h"

enum { NODES = 256, SIDE = 24, TEXT = 2048 };

struct node {
	struct node *next;
	int32_t key;
};

static struct node nodes[NODES];
static int16_t left[SIDE][SIDE], right[SIDE][SIDE];
static char text[TEXT];

static uint32_t checksum(uint32_t sum, uint32_t value)
{
	for (int bit = 0; bit < 32; bit++, value >>= 1)
		sum = (sum >> 1) ^ ((sum ^ value) & 1 ? 0xedb88320u : 0);
	return sum;
}

static struct node *merge(struct node *a, struct node *b)
{
	struct node head = {0}, *last = &head;
	while (a && b) {
		struct node **least = a->key <= b->key ? &a : &b;
		last = last->next = *least;
		*least = last->next;
	}
	last->next = a ? a : b;
	return head.next;
}

static struct node *sorted(struct node *list, int length)
{
	struct node *middle = list, *rest;
	if (length < 2)
		return list;
	for (int i = 1; i < length / 2; i++)
		middle = middle->next;
	rest = middle->next;
	middle->next = NULL;
	return merge(sorted(list, length / 2), sorted(rest, length - length / 2));
}

static uint32_t list_work(uint32_t *seed)
{
	uint32_t sum = 0, place = 0;
	for (int i = 0; i < NODES; i++) {
		nodes[i].key = next_random(seed) & 0xffff;
		nodes[i].next = i + 1 < NODES ? &nodes[i + 1] : NULL;
	}
	for (struct node *node = sorted(nodes, NODES); node; node = node->next)
		sum += node->key * ++place;
	return sum;
}

static uint32_t matrix_work(uint32_t *seed)
{
	uint32_t sum = 0;
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			left[row][column] = next_random(seed);
			right[row][column] = next_random(seed);
		}
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			int32_t product = 0;
			for (int i = 0; i < SIDE; i++)
				product += (left[row][i] * right[i][column]) >> 6;
			sum = sum * 31 + product;
		}
	return sum;
}

/* Counts integers, decimal numbers, words and everything else in the text. */
static uint32_t lexer_work(uint32_t *seed)
{
	static const char letters[] = "0123456789.,eE+- abcxyz;";
	enum { SPACE, SIGN, INTEGER, DECIMAL, WORD, OTHER } state = SPACE;
	uint32_t found[6] = {0};
	for (int i = 0; i < TEXT; i++)
		text[i] = letters[next_random(seed) % (sizeof letters - 1)];
	for (int i = 0; i < TEXT; i++) {
		char c = text[i];
		switch (state) {
		case SPACE:
		case SIGN:
			state = c >= '0' && c <= '9' ? INTEGER : c == '+' || c == '-' ? SIGN : c >= 'a' ? WORD : OTHER;
			break;
		case INTEGER:
			state = c >= '0' && c <= '9' ? INTEGER : c == '.' ? DECIMAL : SPACE;
			break;
		case DECIMAL:
			state = c >= '0' && c <= '9' ? DECIMAL : SPACE;
			break;
		default:
			state = c == ' ' || c == ',' || c == ';' ? SPACE : state;
		}
		found[state]++;
	}
	return found[INTEGER] ^ found[DECIMAL] << 8 ^ found[WORD] << 16 ^ found[OTHER] << 24;
}

static uint32_t work(uint32_t rounds)
{
	uint32_t sum = 0, seed = 0x2545f491;
	while (rounds--) {
		sum = checksum(sum, list_work(&seed));
		sum = checksum(sum, matrix_work(&seed));
		sum = checksum(sum, lexer_work(&seed));
	}
	return sum;
}
